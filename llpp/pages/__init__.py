"""HTML pages in one file: a viewer of pictures with joints, and the frame around it."""
