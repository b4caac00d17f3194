import pytest
from django.db import connection

@pytest.mark.django_db
def test_app_role():
    with connection.cursor() as c:
        c.execute("select current_user, current_database()"); print(c.fetchone())
@pytest.mark.django_db(transaction=True)
def test_t(owner_connection):
    print(owner_connection.execute("select current_user").fetchone())
