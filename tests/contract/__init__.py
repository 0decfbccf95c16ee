"""Generated requests of every kind against the whole product, held against its OpenAPI document."""
