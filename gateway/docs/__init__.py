"""The OpenAPI document, the page that shows it without the internet, and the contract of the topics."""
