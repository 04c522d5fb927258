"""What happens when an exception goes unhandled."""
