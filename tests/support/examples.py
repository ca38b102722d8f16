"""How many examples a property test draws where the profile's number would take too long."""

from hypothesis import settings


def examples(count: int) -> settings:
    """Decorator: draw `count` examples in the profile "fixed", and as many times more in another as that asks for."""
    times = settings().max_examples / settings.get_profile("fixed").max_examples
    return settings(max_examples=round(times * count))
