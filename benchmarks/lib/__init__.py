"""What the scripts share: the harness, problems, descriptions, headline numbers."""
