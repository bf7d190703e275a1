"""POST /v1/responses: the answers of chats in another shape, and the conversations they make."""
