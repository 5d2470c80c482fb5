"""What every long run needs: environments for rivals, progress, and pages of measured sections."""
