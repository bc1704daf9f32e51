"""What an image stands on: an image of a registry or an engine, an OCI layout, or nothing."""
