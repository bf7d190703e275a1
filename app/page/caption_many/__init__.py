"""What is behind the tab "Caption many": a visit's pictures, their captions, and what is made of
them."""
