"""Scripts behind every published number, by what they are for; what they share is in `lib`."""
