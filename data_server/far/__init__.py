"""Workers on other hosts: what runs there, and who brings it there."""
