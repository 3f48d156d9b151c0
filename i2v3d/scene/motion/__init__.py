"""How camera and objects move."""
