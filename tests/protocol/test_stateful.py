"""The same lives as in `schedules`, but found and made short by hypothesis when one ends badly."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from protocol.network import Node
from protocol.schedules import ADDRESSES, Life

SIDES = st.booleans()
ADDRESS_SETS = st.lists(st.integers(0, 4), min_size=1, max_size=3, unique=True)


class Lives(RuleBasedStateMachine):
    """Two hosts, and whatever may happen to them."""

    @initialize(seed=st.integers(0, 1 << 16))
    def begin(self, seed: int) -> None:
        self.life = Life(seed)
        self.life.connect(self.life.a, self.life.b)

    def pair(self, first: bool) -> tuple[Node, Node]:
        life = self.life
        return (life.a, life.b) if first else (life.b, life.a)

    @rule(seconds=st.sampled_from([0.0, 0.004, 0.02, 0.3, 2.0, 30.0]))
    def wait(self, seconds: float) -> None:
        self.life.network.run(seconds)

    @rule(side=SIDES, chosen=ADDRESS_SETS)
    def move(self, side: bool, chosen: list[int]) -> None:
        node, _ = self.pair(side)
        pool = ADDRESSES[node.name]
        self.life.network.readdress(node, *(pool[number] for number in chosen))

    @rule(side=SIDES)
    def cut_off(self, side: bool) -> None:
        self.life.cut_off(self.pair(side)[0])

    @rule(side=SIDES)
    def crash(self, side: bool) -> None:
        self.life.crash(self.pair(side)[0])

    @rule(side=SIDES)
    def close(self, side: bool) -> None:
        self.life.close(*self.pair(side))

    @rule(side=SIDES)
    def connect(self, side: bool) -> None:
        self.life.connect(*self.pair(side))

    @rule(side=SIDES)
    def rekey(self, side: bool) -> None:
        self.life.rekey(*self.pair(side))

    @rule(side=SIDES)
    def hear_nothing(self, side: bool) -> None:
        self.life.silent(*self.pair(side))

    @rule()
    def talk(self) -> None:
        self.life.talk()

    @rule()
    def change_weather(self) -> None:
        self.life.weather()

    @invariant()
    def in_a_named_state(self) -> None:
        if hasattr(self, "life"):
            self.life.check_states()

    def teardown(self) -> None:
        if hasattr(self, "life"):
            self.life.settle()


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    # The same lives in every run; `schedules` is there to look for new ones.
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
