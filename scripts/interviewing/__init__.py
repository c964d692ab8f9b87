"""What `make interview` is made of: its tasks, its clock, the file that is written in, the tests, the report."""
