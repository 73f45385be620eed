"""A folder with the same name as this project's."""
