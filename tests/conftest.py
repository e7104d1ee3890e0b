"""What holds for all tests."""

from hypothesis import settings

# How long an example takes is the machine's business, not that of what is tested.
settings.register_profile("hipgw", deadline=None)
settings.load_profile("hipgw")
