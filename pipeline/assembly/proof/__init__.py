"""What proves where an image comes from: provenance, signatures, and their verification."""
