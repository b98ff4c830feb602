"""What the commands share that plan."""
