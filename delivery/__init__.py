"""Faust that loses nothing: the layer every Faust app of this project is made with.

A table writer (compaction):

    app = create_app("streams", settings)
    carts = app.changelog_table("carts", keep=higher_version, headers_of=state_headers)

    @app.agent(app.source("cart-changed"))
    async def compact(stream):
        async for event in events(stream, partition_of):
            state = fold(carts.lookup(event, event.key), event.value)
            if state is not unchanged:
                await carts.emit(event, event.key, encode(state), state_headers(event.key, state))

A sink:

    @app.agent(app.source("carts"))
    async def write(stream):
        await run_batches(stream, upsert, partition_of=partition_of, is_data_error=is_data_error)

    run_worker(app)     # exit 0 after SIGTERM, 75 when only a restart helps

What a body may rely on: records of a partition arrive in order, none is left out, and a record counts as
processed only when the body is done with it and its changelog records are acknowledged. After a crash the
last ones come again: bodies are idempotent.
"""
