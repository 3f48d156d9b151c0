"""What is on disk between stages: folders that appear in one piece, and who may write and read each file in them."""
