"""What belongs to a database, or may lie in a device, is not asked for its text: with the real libraries."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import orm

from narrative_auto import crumbs
from narrative_auto.failures.redaction import Redactor
from narrative_auto.failures.showing import Shower
from narrative_auto.failures.unasked import is_unasked

SHOWER = Shower(Redactor())


class Base(orm.DeclarativeBase):
    """What the mapped classes extend."""


class Customer(Base):
    """Has orders, which are loaded when somebody looks at them."""

    __tablename__ = "customers"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    orders: orm.Mapped[list[Order]] = orm.relationship(lambda: Order)

    def __repr__(self) -> str:
        return f"<Customer with {len(self.orders)} orders>"


@dataclasses.dataclass
class Basket:
    """Shows whose it is."""

    customer: object


class Order(Base):
    """Belongs to a customer."""

    __tablename__ = "orders"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    customer_id: orm.Mapped[int] = orm.mapped_column(sqlalchemy.ForeignKey("customers.id"))

    def __repr__(self) -> str:
        return f"<Order {self.id}>"


class Plain:
    """Extends nothing of SQLAlchemy's."""

    def __repr__(self) -> str:
        return f"<Plain {self.name}>"  # type: ignore[attr-defined]


orm.registry().map_imperatively(
    Plain,
    sqlalchemy.Table("plain", sqlalchemy.MetaData(), sqlalchemy.Column("name", sqlalchemy.Text, primary_key=True)),
)


@pytest.fixture
def asked() -> Iterator[list[str]]:
    """Return the statements that a database is asked."""
    statements: list[str] = []
    engine = sqlalchemy.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add(Customer(id=3, orders=[Order(id=4)]))
        session.commit()

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
    def _executed(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    asked_of[:] = [engine]
    yield statements
    engine.dispose()


asked_of: list[sqlalchemy.Engine] = []


def shown(value: object) -> list[str]:
    """Return a value's text as that of a variable, and as a crumb has it."""
    crumbs.clear()
    crumbs.crumb("x", value=value)
    return [SHOWER.text(value), crumbs.snapshot()[-1]["value"]]


def test_objects_of_sqlalchemy(asked: list[str]) -> None:
    """They show their number where they hold it, and load nothing; lists of them do not either."""
    name = f"<{__name__}.Customer"
    with orm.Session(asked_of[0]) as session:
        customer = session.get_one(Customer, 3)
        before = len(asked)
        assert shown(customer) == [f"{name} id=3>"] * 2
        assert len(asked) == before
        orders = customer.orders
        session.expire_all()
        before = len(asked)
        assert shown(customer) == [f"{name}>"] * 2
        assert shown(orders) == ["<sqlalchemy.orm.collections.InstrumentedList, 1 items>"] * 2
        assert SHOWER.text(session.query(Customer)) == "<sqlalchemy.orm.query.Query>"
        assert shown(Basket(customer)) == [f"<{__name__}.Basket>"] * 2
        assert shown(Plain()) == [f"<{__name__}.Plain>"] * 2
        assert len(asked) == before
        assert repr(customer) == "<Customer with 1 orders>"
        assert len(asked) > before


def test_objects_of_django() -> None:
    """A model shows its number, and follows no key; a lazy query does not run."""
    import django
    from django.conf import settings

    if not settings.configured:
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.dummy"}}, INSTALLED_APPS=[])
        django.setup()
    from django.db import models

    def text(self: Any) -> str:
        return f"by {self.author}"

    author = type("Author", (models.Model,), {"__module__": __name__, "Meta": _meta()})
    key = models.ForeignKey(author, on_delete=models.CASCADE)
    post: Any = type("Post", (models.Model,), {"__module__": __name__, "Meta": _meta(), "author": key, "__str__": text})
    with pytest.raises(Exception, match="improperly configured"):
        str(post(id=3, author_id=7))
    assert shown(post(id=3, author_id=7)) == [f"<{__name__}.Post id=3>"] * 2
    assert shown(post.objects.all()) == ["<django.db.models.query.QuerySet>"] * 2
    assert shown([post(id=3)]) == [f"[<{__name__}.Post id=3>]"] * 2


def _meta() -> type:
    return type("Meta", (), {"app_label": "blog"})


def test_arrays_and_frames() -> None:
    """They show their shape, and so does what extends them."""
    numpy = pytest.importorskip("numpy", reason="numpy is not installed")
    polars = pytest.importorskip("polars", reason="polars has no wheel for this interpreter")
    extended = type("Grid", (numpy.ndarray,), {"shape": property(lambda self: 1 / 0)})
    assert shown(numpy.zeros((3, 4))) == ["<numpy.ndarray shape=(3, 4) dtype=float64>"] * 2
    assert shown(numpy.zeros(2).view(extended)) == [f"<{__name__}.Grid shape=(2,) dtype=float64>"] * 2
    assert shown(polars.DataFrame({"device": [1, 2]})) == ["<polars.dataframe.frame.DataFrame shape=(2, 1)>"] * 2


def test_names_that_begin_alike() -> None:
    """Only whole parts of a module's name count."""
    assert is_unasked(type("Model", (), {"__module__": "peewee"}))
    assert not is_unasked(type("Model", (), {"__module__": "peewees"}))
    assert not is_unasked(type("ndarray", (), {"__module__": "numpystuff.x"}))
    assert not is_unasked(dict)
