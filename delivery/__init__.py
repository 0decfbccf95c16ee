"""Faust that loses nothing: the layer every Faust app of this project is made with.

A table writer (compaction):

    app = create_app("streams", settings)
    carts = app.changelog_table("carts", keep=higher_version, headers_of=state_headers)

    @app.agent(app.source("cart-changed"))
    async def compact(stream):
        async for run in runs(stream, partition_of):
            await carts.emit(run, fold(run.records, lambda key: carts.lookup(run, key)))

A sink:

    @app.agent(app.source("carts"))
    async def write(stream):
        await run_batches(stream, upsert, partition_of=partition_of, is_data_error=is_data_error)

    run_worker(app)     # exit 0 after SIGTERM, 75 when only a restart helps

What moves is a run: records of one partition, one after the other. What a body may rely on: records of a
partition arrive in order, none is left out, and a run counts as processed only when the body is done with it
and its changelog records are acknowledged. After a crash the last ones come again, cut into other runs:
bodies are idempotent.
"""
