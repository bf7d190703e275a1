"""The page: a server's model in a browser, by Gradio. It asks any Octavo server over HTTP, and runs
in a process of its own (octavo[demo])."""
