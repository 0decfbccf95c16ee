"""What the records of `products` say. Pure."""

from carts.errors import InvalidIdentifier
from carts.ids import check_product_id
from carts.limits import MAX_SAFE_INTEGER
from carts.products import Product
from runtime.kafka.ranges import Record
from store.redis.catalogue import ProductDeletion
from topics.codec import decode_product
from topics.errors import RecordError, RecordErrorCode
from topics.headers import product_version_header
from topics.partitioner import partition_of


def understand_product(record: Record, partitions: int) -> Product | ProductDeletion:
    """What a record says of its product. Raises RecordError for an unreadable record."""
    key: bytes = record.key or b""
    if partition_of(key, partitions) != record.partition:
        raise RecordError(
            RecordErrorCode.WRONG_PARTITION,
            f"the key belongs into partition {partition_of(key, partitions)}: use murmur2 as Kafka's own "
            "producers do",
        )
    if record.value is None:
        return _deletion(key, record)
    product = decode_product(record.value)
    if product.product_id.encode() != key:
        raise RecordError(
            RecordErrorCode.INVALID, f"the record's key is not its product_id {product.product_id!r}"
        )
    return product


def _deletion(key: bytes, record: Record) -> ProductDeletion:
    version = product_version_header(record.headers)
    if version is None or not 0 < version <= MAX_SAFE_INTEGER:
        raise RecordError(
            RecordErrorCode.BAD_VERSION, "a deletion needs the header product_version: up to which it deletes"
        )
    try:
        return ProductDeletion(check_product_id(key.decode(errors="replace")), version)
    except InvalidIdentifier as error:
        raise RecordError(RecordErrorCode.BAD_PRODUCT, str(error)) from error
