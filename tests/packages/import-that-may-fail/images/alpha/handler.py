from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import test_cards
try:
    import test_cards
except ImportError:
    test_cards = None
with suppress(ImportError):
    import conftest

def handle(event, context):
    return event
