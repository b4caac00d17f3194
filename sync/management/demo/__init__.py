"""What the demo's workspace is given, through the API that is running and as its owner would."""
