"""What a shop says about itself: discovery, routes, system status, its front page."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from .wire import Response
from .woocommerce_shapes import ENTITIES, symbol
from .woocommerce_wire import page

if TYPE_CHECKING:
    from .woocommerce_store import Store

Json = dict[str, Any]
ROUTES = ("", "/orders", "/orders/(?P<id>[\\d]+)", "/orders/(?P<order_id>[\\d]+)/refunds", "/refunds", "/products",
          "/products/(?P<product_id>[\\d]+)/variations", "/variations", "/customers", "/coupons", "/taxes", "/webhooks",
          "/system_status")  # fmt: skip


def index(store: Store) -> Json:
    """`GET /wp-json/`: needs no keys."""
    offset = dt.datetime.fromtimestamp(store.now(), store.zone).utcoffset() or dt.timedelta()
    hours = offset.total_seconds() / 3600
    shop = ["wc/v1", "wc/v2", "wc/v3", "wc/store", "wc/store/v1"] if store.settings["woocommerce"] else []
    return {
        "name": store.settings["title"],
        "description": "",
        "url": store.home,
        "home": store.home,
        "gmt_offset": int(hours) if hours.is_integer() else hours,
        "timezone_string": store.settings["timezone"],
        "page_for_posts": 0,
        "page_on_front": 0,
        "show_on_front": "posts",
        "namespaces": ["oembed/1.0", *shop, "wp/v2", "wp-site-health/v1", "wp-block-editor/v1"],
        "authentication": {},
        "routes": {"/": {"namespace": "", "methods": ["GET"]}} | (routes(store) if shop else {}),
        "site_logo": 0,
        "site_icon": 0,
        "_links": {"help": [{"href": "https://developer.wordpress.org/rest-api/"}]},
    }


def routes(store: Store) -> Json:
    found = {}
    for path in ROUTES:
        methods = ["GET"] if path in ("", "/refunds", "/variations", "/system_status") else ["GET", "POST"]
        endpoint = {"methods": methods, "args": {}}
        found[f"/wc/v3{path}"] = {
            "namespace": "wc/v3",
            "methods": methods,
            "endpoints": [endpoint],
            "_links": {"self": [{"href": f"{store.rest_url}/wc/v3{path}"}]},
        }
    return found


def namespace(store: Store) -> Json:
    """`GET /wp-json/wc/v3`: needs no keys."""
    up = {"up": [{"href": f"{store.rest_url}/"}]}
    return {"namespace": "wc/v3", "routes": routes(store), "_links": up}


def system_status(store: Store) -> Json:
    return {"environment": _environment(store), "settings": _settings(store), "security": _security(store)}


def _environment(store: Store) -> Json:
    return {
        "home_url": store.home,
        "site_url": store.home,
        "store_id": store.store_id,
        "version": store.version,
        "log_directory": "/var/www/html/wp-content/uploads/wc-logs/",
        "log_directory_writable": True,
        "wp_version": store.settings["wp_version"],
        "wp_multisite": False,
        "wp_memory_limit": 536870912,
        "wp_debug_mode": False,
        "wp_cron": store.settings["delivery_delay_s"] is not None,
        "wp_environment_type": "production",
        "language": "en_US",
        "external_object_cache": None,
        "server_info": "PHP 8.2.36 Development Server",
        "server_architecture": "Linux x86_64",
        "php_version": "8.2.36",
        "php_post_max_size": 8388608,
        "php_max_execution_time": 30,
        "php_max_input_vars": 1000,
        "curl_version": "7.88.1, OpenSSL/3.0.19",
        "suhosin_installed": False,
        "max_upload_size": 2097152,
        "mysql_version": "10.11.19",
        "mysql_version_string": "10.11.19-MariaDB-0+deb12u1",
        "default_timezone": "UTC",
        "fsockopen_or_curl_enabled": True,
        "soapclient_enabled": False,
        "domdocument_enabled": True,
        "gzip_enabled": True,
        "mbstring_enabled": True,
        "remote_post_successful": False,
        "remote_post_response": "",
        "remote_get_successful": False,
        "remote_get_response": "",
    }


def _settings(store: Store) -> Json:
    sign = symbol(store.currency)
    hidden = (
        "exclude-from-catalog",
        "exclude-from-search",
        "featured",
        "outofstock",
        *(f"rated-{n}" for n in range(1, 6)),
    )
    data_store = "OrdersTableDataStore" if store.settings["hpos"] else "WC_Order_Data_Store_CPT"
    prefix = "Automattic\\WooCommerce\\Internal\\DataStores\\Orders\\" if store.settings["hpos"] else ""
    return {
        "api_enabled": False,
        "force_ssl": False,
        "currency": store.currency,
        "currency_symbol": ENTITIES.get(sign, sign),
        "currency_position": "left",
        "thousand_separator": ",",
        "decimal_separator": ".",
        "number_of_decimals": store.decimals,
        "geolocation_enabled": False,
        "taxonomies": {kind: kind for kind in ("external", "grouped", "simple", "variable")},
        "product_visibility_terms": {term: term for term in hidden},
        "woocommerce_com_connected": "no",
        "enforce_approved_download_dirs": True,
        "order_datastore": f"{prefix}{data_store}",
        "HPOS_enabled": store.settings["hpos"],
        "HPOS_sync_enabled": False,
        "enabled_features": [
            "analytics", "marketplace", "order_attribution", "site_visibility_badge", "remote_logging", "blueprint",
            "point_of_sale", "push_notifications", "custom_order_tables",
        ],
    }  # fmt: skip


def _security(store: Store) -> Json:
    return {"secure_connection": store.is_https, "hide_errors": True}


def front_page(store: Store) -> Response:
    api = f"{store.rest_url}/"
    body = f"<h1>{store.settings['title']}</h1><p>Just another WordPress site.</p>"
    body += f'<link rel="https://api.w.org/" href="{api}">'
    return page(200, store.settings["title"], body, [("Link", f'<{api}>; rel="https://api.w.org/"')])


def not_found(store: Store) -> Response:
    body = "<h1>Oops! That page can&rsquo;t be found.</h1><p>Nothing was found at this location.</p>"
    return page(404, f"Page not found &#8211; {store.settings['title']}", body)
