"""The hosted link page's HTML: plain forms, no script, one inline stylesheet. Everything shown is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from .plaid_institutions import AccountKind, Institution, logo

STYLE = """
:root{color-scheme:light dark;--ground:#f3f5f7;--card:#fff;--ink:#17212b;--quiet:#566472;--line:#dde3e8;--accent:#0d5c63;
--on-accent:#fff;--soft:#e6f1f1;--bad:#a3231f;--bad-soft:#fdecea}
@media (prefers-color-scheme:dark){:root{--ground:#0f1519;--card:#182026;--ink:#e8edf1;--quiet:#a3b0bb;--line:#2c3842;
--accent:#5cc4c9;--on-accent:#06282a;--soft:#17343a;--bad:#ff9d97;--bad-soft:#3b1c1b}}
*{box-sizing:border-box}
body{margin:0;min-height:100vh;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;display:flex;justify-content:center;padding:32px 16px}
.sheet{width:100%;max-width:440px;align-self:flex-start}
main{background:var(--card);border:1px solid var(--line);border-radius:16px;padding:32px 24px;margin:16px 0}
header,footer{color:var(--quiet);font-size:14px;text-align:center}
h1{font-size:24px;line-height:1.25;margin:0 0 8px;font-weight:600;overflow-wrap:anywhere}
p{margin:0 0 16px;color:var(--quiet)} p.lead{margin-bottom:24px}
label{display:block;font-weight:600;margin:16px 0 8px}
input[type=text],input[type=password],input[type=search]{width:100%;font:inherit;padding:12px;border:1px solid var(--line);
border-radius:8px;background:var(--ground);color:var(--ink)}
button,.button{display:block;width:100%;font:inherit;font-weight:600;text-align:center;text-decoration:none;cursor:pointer;
padding:12px 16px;border-radius:8px;border:1px solid transparent;background:var(--accent);color:var(--on-accent);margin-top:24px}
button.quiet,.button.quiet{background:none;color:var(--quiet);font-weight:400;margin-top:8px}
button.quiet:hover{color:var(--ink);text-decoration:underline}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
ul{list-style:none;margin:16px 0 0;padding:0}
li+li{border-top:1px solid var(--line)}
li a,li label{display:flex;gap:16px;align-items:center;padding:12px 8px;margin:0;color:inherit;text-decoration:none;
font-weight:400;border-radius:8px;cursor:pointer}
li a:hover,li label:hover{background:var(--soft)}
img{border-radius:12px;flex:none}
li strong,li small{display:block;overflow-wrap:anywhere} small{color:var(--quiet);font-size:14px}
strong{font-weight:600}
input[type=checkbox]{width:20px;height:20px;accent-color:var(--accent);flex:none}
fieldset{border:0;margin:0;padding:0} legend{font-weight:600;padding:0}
.hint,.problem{border-radius:8px;padding:12px 16px;margin:0 0 16px;color:var(--ink)}
.hint{background:var(--soft);margin-top:24px;font-size:14px} .problem{background:var(--bad-soft);color:var(--bad)}
.hint code{font:14px ui-monospace,SFMono-Regular,Menlo,monospace}
.mark{width:56px;height:56px;border-radius:50%;background:var(--soft);color:var(--accent);display:grid;place-items:center;
font-size:28px;margin-bottom:16px}
.bank{display:flex;gap:16px;align-items:center;margin-bottom:24px}
.points li{padding:8px 0;color:var(--quiet)} .search{margin-bottom:8px}
.visually-hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
"""


def esc(value: object) -> str:
    return html.escape(str(value), quote=True)


def sheet(title: str, body: str, *, client_name: str = "", forward: str | None = None) -> bytes:
    """A whole page. `forward`: where the browser goes by itself after a moment."""
    refresh = f'<meta http-equiv="refresh" content="4;url={esc(forward)}">' if forward else ""
    above = f"{esc(client_name)} · secure bank connection" if client_name else "Secure bank connection"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><meta name="robots" content="noindex">'
        f'{refresh}<title>{esc(title)}</title><style>{STYLE}</style></head><body><div class="sheet">'
        f"<header>{above}</header><main>{body}</main>"
        "<footer>Simulated banks for demos and tests. No real bank is contacted.</footer></div></body></html>"
    ).encode()


def picture(bank: Institution, size: int = 48) -> str:
    return f'<img src="data:image/png;base64,{logo(bank.institution_id)}" width="{size}" height="{size}" alt="">'


def heading(bank: Institution, title: str) -> str:
    return f'<div class="bank">{picture(bank, 56)}<h1>{esc(title)}</h1></div>'


def leave(base: str, words: str = "Leave without connecting") -> str:
    return f'<form method="post" action="{esc(base)}/exit"><button class="quiet">{esc(words)}</button></form>'


def banks(base: str, found: Iterable[Institution], query: str, client_name: str) -> bytes:
    rows = [
        f'<li><a href="{esc(base)}/bank/{esc(bank.institution_id)}">{picture(bank)}<span><strong>{esc(bank.name)}</strong>'
        f"<small>{esc(bank.url.removeprefix('https://'))}</small></span></a></li>"
        for bank in found
    ]
    listed = (
        f"<ul>{''.join(rows)}</ul>"
        if rows
        else (f'<p role="status">No bank here is called “{esc(query)}”. <a href="{esc(base)}">Show all banks</a></p>')
    )
    body = (
        f'<h1>Choose your bank</h1><p class="lead">{esc(client_name)} will be able to read your accounts and transactions. '
        f'It cannot move money.</p><form class="search" role="search" method="get" action="{esc(base)}">'
        '<label for="q" class="visually-hidden">Search banks</label>'
        f'<input id="q" type="search" name="q" value="{esc(query)}" placeholder="Search banks" autocomplete="off"></form>'
        f"{listed}{leave(base)}"
    )
    return sheet("Choose your bank", body, client_name=client_name)


def handover(base: str, bank: Institution, client_name: str) -> bytes:
    body = (
        f"{heading(bank, f'Continue to {bank.name}')}<p>You will sign in on the website of {esc(bank.name)} and choose there "
        f"what to share. Then you come back here.</p>"
        f'<a class="button" href="{esc(base)}/bank/{esc(bank.institution_id)}?at=bank">Continue to {esc(bank.name)}</a>'
        f"{leave(base)}"
    )
    return sheet(f"Continue to {bank.name}", body, client_name=client_name)


def sign_in(
    base: str, bank: Institution, client_name: str, *, username: str = "", problem: str = "", is_update: bool = False
) -> bytes:
    title = f"Sign in to {bank.name}" + (" again" if is_update else "")
    alert = f'<p class="problem" role="alert" id="problem">{esc(problem)}</p>' if problem else ""
    described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
    why = (
        f"Your bank asks you to confirm that {esc(client_name)} may still read your accounts."
        if is_update
        else f"Use the user name and password of your account at {esc(bank.name)}."
    )
    other = "" if is_update else f'<a class="button quiet" href="{esc(base)}">Choose another bank</a>'
    body = (
        f"{heading(bank, title)}<p>{why}</p>{alert}"
        f'<form method="post" action="{esc(base)}/sign-in"><input type="hidden" name="institution_id" '
        f'value="{esc(bank.institution_id)}"><label for="username">User name</label>'
        f'<input id="username" name="username" type="text" autocomplete="off" autocapitalize="none" spellcheck="false" '
        f'required value="{esc(username)}"{described}><label for="password">Password</label>'
        f'<input id="password" name="password" type="password" autocomplete="off" required{described}>'
        f"<button>Sign in to {esc(bank.name)}</button></form>"
        '<p class="hint">This bank is simulated. User name <code>user_good</code>, password <code>pass_good</code>.</p>'
        f"{other}{leave(base)}"
    )
    return sheet(title, body, client_name=client_name)


def accounts(
    base: str,
    bank: Institution,
    offered: list[tuple[int, AccountKind, str]],
    chosen: set[int],
    client_name: str,
    problem: str,
) -> bytes:
    """`offered`: (key, kind, mask)."""
    alert = f'<p class="problem" role="alert">{esc(problem)}</p>' if problem else ""
    rows = [
        f'<li><label><input type="checkbox" name="account" value="{key}"{" checked" if key in chosen else ""}>'
        f"<span><strong>{esc(kind.name)}</strong><small>{esc(kind.subtype)} ···· {esc(mask)}</small></span></label></li>"
        for key, kind, mask in offered
    ]
    body = (
        f"{heading(bank, 'Choose accounts to share')}{alert}"
        f'<form method="post" action="{esc(base)}/accounts"><fieldset><legend>Accounts at {esc(bank.name)}</legend>'
        f"<ul>{''.join(rows)}</ul></fieldset><button>Continue with these accounts</button></form>{leave(base)}"
    )
    return sheet("Choose accounts to share", body, client_name=client_name)


def review(base: str, bank: Institution, chosen: list[tuple[int, AccountKind, str]], client_name: str) -> bytes:
    count = f"{len(chosen)} account{'' if len(chosen) == 1 else 's'}"
    rows = [
        f"<li><strong>{esc(kind.name)}</strong><small>{esc(kind.subtype)} ···· {esc(mask)}</small></li>"
        for _key, kind, mask in chosen
    ]
    body = (
        f'{heading(bank, f"Share {count} with {client_name}?")}<ul class="points">{"".join(rows)}</ul>'
        f'<p class="hint">{esc(client_name)} can see account names, balances and transactions. It cannot see your password, '
        "and it cannot move money. You can disconnect at any time.</p>"
        f'<form method="post" action="{esc(base)}/connect"><button>Connect {count}</button></form>'
        f'<a class="button quiet" href="{esc(base)}/accounts">Change accounts</a>{leave(base)}'
    )
    return sheet(f"Share {count}?", body, client_name=client_name)


def _onward(forward: str | None, client_name: str) -> str:
    if not forward:
        return "<p>You can close this page.</p>"
    return f'<a class="button" href="{esc(forward)}">Return to {esc(client_name)}</a>'


def connected(bank: Institution, client_name: str, forward: str | None, *, is_update: bool) -> bytes:
    title = "You’re connected again" if is_update else "You’re connected"
    body = (
        f'<div class="mark" aria-hidden="true">✓</div><h1>{title}</h1><p>{esc(bank.name)} now shares your accounts with '
        f"{esc(client_name)}. Your transactions will appear there in a moment.</p>{_onward(forward, client_name)}"
    )
    return sheet(title, body, client_name=client_name, forward=forward)


def left(client_name: str, forward: str | None) -> bytes:
    body = (
        '<div class="mark" aria-hidden="true">↩</div><h1>Nothing was connected</h1><p>You left before finishing, and nothing '
        f"was shared. You can start again from {esc(client_name)} whenever you like.</p>{_onward(forward, client_name)}"
    )
    return sheet("Nothing was connected", body, client_name=client_name, forward=forward)


def closed(title: str, words: str) -> bytes:
    body = f'<div class="mark" aria-hidden="true">⏱</div><h1>{esc(title)}</h1><p>{esc(words)}</p>'
    return sheet(title, body)
