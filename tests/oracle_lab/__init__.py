"""What can be said about statements of Oracle's where there is no Oracle."""
