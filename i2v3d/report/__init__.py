"""Pages, films and tables made of finished results."""
