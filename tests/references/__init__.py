"""An app whose tables refer to sagas, in every way that Django knows."""
