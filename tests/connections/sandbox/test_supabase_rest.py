"""The simulated Data API: what a write or a read answers, over a real PostgreSQL."""

from __future__ import annotations

import httpx
import pytest

from .conftest import Supabase

UPSERT = "/orders?on_conflict=source_id&columns=source_id,total,currency"
MERGE = "resolution=merge-duplicates,return=minimal"


def order(number: int, **fields) -> dict:
    return {"source_id": str(number), "total": f"{number}.5", "currency": "CAD"} | fields


def test_upsert_creates_then_merges_and_says_which(supabase: Supabase):
    first = supabase.call("POST", UPSERT, [order(1), order(2)], prefer=MERGE)
    assert (first.status_code, first.content) == (201, b"")
    assert first.headers["preference-applied"] == "resolution=merge-duplicates, return=minimal"
    mixed = supabase.call("POST", UPSERT, [order(2, total="7"), order(3)], prefer=f"{MERGE},count=exact")
    assert (mixed.status_code, mixed.headers["content-range"]) == (201, "*/2")
    again = supabase.call("POST", UPSERT, [order(2, total="8"), order(3)], prefer=f"{MERGE},tx=rollback")
    assert (again.status_code, again.headers["preference-applied"]) == (200, first.headers["preference-applied"])
    assert [(row["source_id"], row["total"]) for row in supabase.rows("orders")] == [("1", 1.5), ("2", 8), ("3", 3.5)]
    assert {row["note"] for row in supabase.rows("orders")} == {"new"}


def test_upsert_of_nothing_proves_the_permission_to_write(supabase: Supabase):
    assert supabase.call("POST", UPSERT, [], prefer=MERGE).status_code == 200
    supabase.sql("REVOKE UPDATE ON orders FROM service_role")
    assert supabase.refused("POST", UPSERT, [], prefer=MERGE) == (403, "42501")
    assert supabase.call("POST", "/orders", []).status_code == 200
    supabase.sql("REVOKE INSERT ON orders FROM service_role")
    assert supabase.refused("POST", "/orders", []) == (403, "42501")
    assert supabase.rows("orders") == []


def test_resolution_without_a_key_is_a_plain_insert(supabase: Supabase):
    supabase.sql("CREATE TABLE log (note text); GRANT ALL ON log TO service_role")
    answer = supabase.call("POST", "/log", [{"note": "a"}], prefer=MERGE)
    assert (answer.status_code, answer.headers["preference-applied"]) == (201, "return=minimal")


def test_ignored_duplicates_keep_what_is_there(supabase: Supabase):
    supabase.call("POST", UPSERT, [order(1)], prefer=MERGE)
    prefer = "resolution=ignore-duplicates,return=representation"
    answer = supabase.call("POST", UPSERT, [order(1, total="9"), order(2)], prefer=prefer)
    assert [row["source_id"] for row in answer.json()] == ["2"]
    assert [row["total"] for row in supabase.rows("orders")] == [1.5, 2.5]


def test_missing_columns_are_null_or_their_default(supabase: Supabase):
    path = "/orders?columns=id,source_id,note"
    supabase.call("POST", path, [{"id": 1000, "source_id": "a"}])
    assert supabase.refused("POST", path, [{"source_id": "b"}], prefer="missing=default") == (403, "42501")
    supabase.sql("GRANT USAGE ON SEQUENCE orders_id_seq TO service_role")
    supabase.call("POST", path, [{"source_id": "b", "other": 1}], prefer="missing=default")
    assert [(row["source_id"], row["note"]) for row in supabase.rows("orders")] == [("b", "new"), ("a", None)]


def test_one_bad_row_fails_the_whole_batch(supabase: Supabase):
    assert supabase.refused("POST", UPSERT, [order(1), order(2, total="x")], prefer=MERGE) == (400, "22P02")
    assert supabase.rows("orders") == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ([order(1, total="x")], (400, "22P02")),
        ([order(1, total="1e30")], (400, "22003")),
        ([order(1, currency="DOLLAR")], (400, "22001")),
        ([order(1, source_id=None)], (400, "23502")),
        ([order(1, total="-1")], (400, "23514")),
        ([order(1), order(1)], (500, "21000")),
    ],
)
def test_bad_data_has_the_databases_own_code(supabase: Supabase, body, error):
    assert supabase.refused("POST", UPSERT, body, prefer=MERGE) == error


def test_keys_conflicts_and_parents_have_the_databases_own_code(supabase: Supabase):
    supabase.sql("CREATE UNIQUE INDEX ON orders (note) WHERE total > 0")
    supabase.sql("CREATE TABLE lines (order_id bigint REFERENCES orders); GRANT ALL ON lines TO service_role")
    supabase.call("POST", "/orders", [order(1)])
    assert supabase.refused("POST", "/orders", [order(1)]) == (409, "23505")
    assert supabase.refused("POST", "/lines", [{"order_id": 99}]) == (409, "23503")
    assert supabase.refused("POST", "/orders?on_conflict=note", [order(2)], prefer=MERGE) == (400, "42P10")
    assert supabase.refused("POST", "/orders", [order(2), {"source_id": "3"}]) == (400, "PGRST102")
    assert supabase.refused("POST", "/orders", [{"nope": 1}]) == (400, "PGRST204")
    assert supabase.refused("GET", "/orders?select=nope") == (400, "42703")
    assert supabase.refused("GET", "/order") == (404, "PGRST205")
    bad = supabase.http.post("/orders", content=b"[{", headers={"apikey": supabase.keys["secret"]})
    assert (bad.status_code, bad.json()["code"]) == (400, "PGRST102")


def test_patch_and_delete_touch_what_the_filter_says(supabase: Supabase):
    supabase.call("POST", UPSERT, [order(number) for number in range(4)], prefer=MERGE)
    answer = supabase.call("PATCH", "/orders?source_id=in.(1,2)", {"note": "seen"}, prefer="return=representation")
    assert (answer.status_code, answer.headers["content-range"], len(answer.json())) == (200, "0-1/*", 2)
    gone = supabase.call("DELETE", "/orders?note=eq.seen", prefer="count=exact")
    assert (gone.status_code, gone.headers["content-range"]) == (204, "*/2")
    strict = "handling=strict,max-affected=1"
    assert supabase.refused("DELETE", "/orders", prefer=strict) == (400, "PGRST124")
    assert supabase.refused("DELETE", "/orders", prefer="handling=strict,speed=high") == (400, "PGRST122")
    assert supabase.call("PATCH", "/orders", {"note": "all"}, prefer="max-affected=1").status_code == 204
    supabase.set(safeupdate=True)
    assert supabase.refused("DELETE", "/orders") == (400, "21000")
    assert [row["note"] for row in supabase.rows("orders")] == ["all", "all"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("source_id=eq.1", "1"),
        ("source_id=neq.1&order=id", "023"),
        ("total=gt.1.5&order=id", "23"),
        ("total=gte.1.5&total=lt.3.5&order=id.desc", "21"),
        ('source_id=in.(0,"3")&order=id', "03"),
        ("source_id=not.in.(0,3)&order=id", "12"),
        ("note=is.null", ""),
        ("note=not.is.null&limit=1", "0"),
        ("note=like.N*", ""),
        ("note=ilike.N*&order=source_id.desc", "3210"),
        ("or=(source_id.eq.1,and(total.gt.1,total.lt.3))&order=id", "12"),
        ("and=(source_id.not.eq.1,total.lt.3)&order=id", "02"),
        ("raw->a->>b=eq.x", "3"),
        ("raw=cs.{}&offset=0", "3"),
        ("order=id&limit=2&offset=1", "12"),
        ("order=raw.asc.nullsfirst,total.desc&limit=1", "2"),
    ],
)
def test_filters_find_what_they_say(supabase: Supabase, query, found):
    supabase.call("POST", UPSERT, [order(number) for number in range(3)], prefer=MERGE)
    supabase.call("POST", "/orders", order(3, raw={"a": {"b": "x"}}))
    answer = supabase.call("GET", f"/orders?select=source_id&{query}")
    assert answer.status_code == 200, answer.text
    assert "".join(row["source_id"] for row in answer.json()) == found


def test_columns_are_cast_and_named(supabase: Supabase):
    supabase.call("POST", "/orders", order(1, total="0.1000", raw={"a": [1]}))
    answer = supabase.call("GET", "/orders?select=number:source_id,total::text,raw->a")
    assert answer.json() == [{"number": "1", "total": "0.1000", "a": [1]}]


def test_filters_are_values_and_never_sql(supabase: Supabase):
    supabase.call("POST", "/orders", order(1))
    for name, value in [("source_id", "eq.' OR true --"), ('source_id" OR true --', "eq.1"), ("total", "eq.1);--")]:
        answer = supabase.http.get("/orders", params={name: value}, headers={"apikey": supabase.keys["secret"]})
        assert answer.status_code == 400 or answer.json() == []
    assert supabase.call("GET", "/orders?select=id::text);drop table orders").status_code == 400
    assert supabase.refused("GET", "/orders?select=id::int4%20x") == (400, "PGRST100")
    assert len(supabase.rows("orders")) == 1


def test_pages_are_capped_in_silence_and_counted_on_request(supabase: Supabase):
    supabase.sql("INSERT INTO orders (source_id) SELECT n FROM generate_series(1, 1200) n")
    capped = supabase.call("GET", "/orders?limit=1100")
    assert (capped.status_code, len(capped.json()), capped.headers["content-range"]) == (200, 1000, "0-999/*")
    counted = supabase.call("GET", "/orders?select=id", prefer="count=exact")
    assert (counted.status_code, counted.headers["content-range"]) == (206, "0-999/1200")
    ranged = supabase.call("GET", "/orders?order=id", prefer="count=exact", range="1195-1300", range_unit="items")
    assert (ranged.status_code, ranged.headers["content-range"]) == (206, "1195-1199/1200")
    assert supabase.refused("GET", "/orders?offset=1300", prefer="count=exact") == (416, "PGRST103")
    assert supabase.refused("GET", "/orders", range="5-1") == (416, "PGRST103")
    assert supabase.call("GET", "/orders?offset=1300").json() == []
    assert supabase.call("HEAD", "/orders", prefer="count=planned").headers["content-range"].startswith("0-999/")
    supabase.set(max_rows=10)
    assert len(supabase.call("GET", "/orders").json()) == 10


def test_single_objects_are_asked_for_by_accept(supabase: Supabase):
    supabase.call("POST", UPSERT, [order(1), order(2)], prefer=MERGE)
    one = "application/vnd.pgrst.object+json"
    assert supabase.call("GET", "/orders?source_id=eq.1", accept=one).json()["source_id"] == "1"
    assert supabase.refused("GET", "/orders", accept=one) == (406, "PGRST116")
    assert supabase.refused("GET", "/orders", accept="text/html") == (406, "PGRST107")


def test_functions_are_called_by_name(supabase: Supabase):
    supabase.sql("""
        CREATE FUNCTION add(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
        CREATE FUNCTION put(body jsonb) RETURNS SETOF orders LANGUAGE sql
            AS $$ INSERT INTO orders (source_id) SELECT body ->> 'id' RETURNING * $$;
        CREATE FUNCTION refuse() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE 'closed' USING ERRCODE = 'PT418'; END $$;
        CREATE FUNCTION twice(x int) RETURNS int LANGUAGE sql AS 'SELECT 1';
        CREATE FUNCTION twice(x text) RETURNS int LANGUAGE sql AS 'SELECT 2';
    """)
    assert supabase.call("POST", "/rpc/add", {"a": 1}).json() == 3
    assert supabase.call("GET", "/rpc/add?a=1&b=5").json() == 6
    assert supabase.call("POST", "/rpc/put?select=source_id", {"body": {"id": "7"}}).json() == [{"source_id": "7"}]
    assert supabase.refused("GET", "/rpc/put?body={}") == (405, "25006")
    assert supabase.refused("POST", "/rpc/refuse", {}) == (418, "PT418")
    assert supabase.refused("POST", "/rpc/twice", {"x": 1}) == (300, "PGRST203")
    assert supabase.refused("POST", "/rpc/add", {"c": 1}) == (404, "PGRST202")


def test_new_tables_are_granted_to_nobody(supabase: Supabase):
    supabase.sql("CREATE TABLE fresh (id int)")
    answer = supabase.call("GET", "/fresh")
    assert (answer.status_code, answer.json()["code"]) == (403, "42501")
    assert answer.json()["hint"].endswith("GRANT SELECT, INSERT, UPDATE, DELETE ON public.fresh TO service_role;")
    assert supabase.refused("GET", "/fresh", apikey=supabase.keys["publishable"]) == (401, "42501")


def test_policies_hold_back_everyone_but_the_secret_key(supabase: Supabase):
    supabase.sql("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; GRANT ALL ON orders TO anon, authenticated")
    supabase.call("POST", "/orders", order(1))
    public = supabase.keys["publishable"]
    assert supabase.call("GET", "/orders", apikey=public).json() == []
    assert supabase.refused("POST", "/orders", order(2), apikey=public) == (401, "42501")
    assert len(supabase.call("GET", "/orders").json()) == 1
    supabase.sql("CREATE POLICY all_of_it ON orders TO anon USING (auth.role() = 'anon')")
    assert len(supabase.call("GET", "/orders", apikey=public).json()) == 1


def test_other_schemas_are_asked_for_by_profile(supabase: Supabase):
    supabase.sql("""CREATE SCHEMA hub; CREATE TABLE hub.items (id int PRIMARY KEY);
                    GRANT USAGE ON SCHEMA hub TO service_role; GRANT ALL ON hub.items TO service_role""")
    assert supabase.refused("GET", "/items", accept_profile="hub") == (406, "PGRST106")
    supabase.set(exposed_schemas=["public", "hub"])
    assert supabase.call("POST", "/items", {"id": 1}, content_profile="hub").status_code == 201
    assert supabase.call("GET", "/items", accept_profile="hub").json() == [{"id": 1}]
    assert supabase.refused("GET", "/items") == (404, "PGRST205")


def test_stale_schema_cache_is_told_to_look_again(supabase: Supabase):
    supabase.set(auto_reload=False)
    assert supabase.call("GET", "/orders").status_code == 200
    supabase.sql("CREATE TABLE late (id int); GRANT ALL ON late TO service_role; ALTER TABLE orders ADD more text")
    supabase.sql("CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert supabase.refused("GET", "/late") == (404, "PGRST205")
    assert supabase.refused("POST", "/orders", order(1, more="x")) == (400, "PGRST204")
    assert supabase.refused("POST", "/rpc/one", {}) == (404, "PGRST202")
    supabase.sql("NOTIFY pgrst, 'reload schema'")
    assert supabase.call("GET", "/late").json() == []
    supabase.sql("DROP TABLE late")
    assert supabase.refused("GET", "/late") == (404, "42P01")
    supabase.control(f"projects/{supabase.ref}/reload")
    assert supabase.refused("GET", "/late") == (404, "PGRST205")


def test_each_key_kind_has_its_headers(supabase: Supabase):
    keys = supabase.keys
    assert supabase.refused("GET", "/orders", authorization=f"Bearer {keys['secret']}") == (401, "PGRST301")
    legacy = {"apikey": keys["service_role"], "authorization": f"Bearer {keys['service_role']}"}
    assert supabase.call("GET", "/orders", **legacy).status_code == 200
    assert supabase.refused("GET", "/orders", apikey=keys["service_role"]) == (401, "42501")
    forged = keys["service_role"][:-6] + "AAAAAA"
    assert supabase.refused("GET", "/orders", authorization=f"Bearer {forged}") == (401, "PGRST301")
    browser = supabase.call("GET", "/orders", user_agent="Mozilla/5.0 (X11; Linux x86_64) Chrome/141.0")
    wrong = supabase.call("GET", "/orders", apikey="sb_secret_wrong")
    assert [(one.status_code, one.content) for one in (browser, wrong)] == [(401, b"")] * 2
    missing = supabase.call("GET", "/orders", apikey="")
    assert (missing.status_code, missing.json()["message"]) == (401, "No API key found in request")
    supabase.set(legacy_keys=False)
    assert supabase.call("GET", "/orders", **legacy).status_code == 401
    supabase.control(f"projects/{supabase.ref}/keys")
    assert supabase.call("GET", "/orders").status_code == 401


def test_statements_end_with_their_time(supabase: Supabase):
    supabase.sql("CREATE FUNCTION slow() RETURNS text LANGUAGE sql AS 'SELECT pg_sleep(20)::text'")
    supabase.set(statement_timeout_ms={"service_role": 100})
    assert supabase.refused("POST", "/rpc/slow", {}) == (500, "57014")


def test_read_only_database_says_so(supabase: Supabase):
    supabase.set(read_only=True)
    assert supabase.refused("POST", "/orders", order(1)) == (405, "25006")
    supabase.set(read_only=False)
    assert supabase.call("POST", "/orders", order(1)).status_code == 201


def test_log_tells_requests_without_keys(supabase: Supabase):
    supabase.call("POST", UPSERT, [order(1)], prefer=MERGE)
    supabase.call("GET", f"/orders?apikey={supabase.keys['secret']}", apikey="")
    entry, other = supabase.control(f"log?project={supabase.ref}", "GET")["requests"]
    assert (other["status"], other["query"]) == (200, "apikey=…")
    assert (entry["method"], entry["path"], entry["status"], entry["role"]) == (
        "POST",
        "/rest/v1/orders",
        201,
        "service_role",
    )
    assert not any(key in f"{entry}{other}" for key in supabase.keys.values())


def test_project_is_found_by_its_key_alone(supabase: Supabase):
    url = f"{supabase.simulator.origin}/supabase/rest/v1/orders"
    assert httpx.get(url, headers={"apikey": supabase.keys["secret"]}).json() == []
    assert httpx.get(url, headers={"apikey": "sb_secret_x"}).status_code == 404
