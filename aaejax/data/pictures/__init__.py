"""Pictures in files and folders: found, checked and decoded."""
