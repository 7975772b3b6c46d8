"""What the paper prints, as data: costs, and claims about them."""
