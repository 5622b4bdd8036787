"""What deploy/local/up and deploy/local/down share. Standard library only."""
