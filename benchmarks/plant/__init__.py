"""What every long run needs: private servers, workers, environments for rivals, progress, and pages."""
