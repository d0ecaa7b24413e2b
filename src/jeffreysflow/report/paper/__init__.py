"""The page of the paper: its figures and tables by number, published values beside ours."""
