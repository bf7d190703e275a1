"""POST /v1/messages, Anthropic's API: the answers of chats in another shape."""
