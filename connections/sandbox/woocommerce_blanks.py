"""New objects before anybody filled them in: every field that the shop shows, at its default."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
UNCATEGORIZED = {"id": 15, "name": "Uncategorized", "slug": "uncategorized"}


def _sale() -> Json:
    names = ("date_on_sale_from", "date_on_sale_from_gmt", "date_on_sale_to", "date_on_sale_to_gmt")
    return dict.fromkeys(names) | {"on_sale": False, "purchasable": True}


def _delivery() -> Json:
    return {"downloads": [], "download_limit": -1, "download_expiry": -1}


def _stock() -> Json:
    return {
        "manage_stock": False,
        "stock_quantity": None,
        "backorders": "no",
        "backorders_allowed": False,
        "backordered": False,
        "low_stock_amount": None,
    }


def product(name: str, slug: str, **more: Any) -> Json:
    body: Json = {"name": name, "slug": slug, "type": "simple", "featured": False, "catalog_visibility": "visible"}
    body |= {"description": "", "short_description": "", "sku": "", "price": "", "regular_price": "", "sale_price": ""}
    body |= _sale() | {"total_sales": 0, "virtual": False, "downloadable": False} | _delivery()
    body |= {"external_url": "", "button_text": "", "tax_status": "taxable", "tax_class": ""} | _stock()
    body |= {
        "sold_individually": False,
        "weight": "",
        "dimensions": {"length": "", "width": "", "height": ""},
        "shipping_required": True,
        "shipping_taxable": True,
        "shipping_class": "",
        "shipping_class_id": 0,
        "reviews_allowed": True,
        "average_rating": "0.00",
        "rating_count": 0,
        "upsell_ids": [],
        "cross_sell_ids": [],
        "parent_id": 0,
        "purchase_note": "",
        "categories": [UNCATEGORIZED],
        "brands": [],
        "tags": [],
        "images": [],
        "attributes": [],
        "default_attributes": [],
        "variations": [],
        "grouped_products": [],
        "menu_order": 0,
        "price_html": "",
        "related_ids": [],
        "meta_data": [],
        "stock_status": "instock",
        "has_options": False,
        "post_password": "",
        "global_unique_id": "",
    }
    return body | more


def variation(**more: Any) -> Json:
    body: Json = {"description": "", "permalink": "", "sku": "", "global_unique_id": ""}
    body |= {"price": "", "regular_price": "", "sale_price": ""} | _sale()
    body |= {"virtual": False, "downloadable": False} | _delivery() | {"tax_status": "taxable", "tax_class": "parent"}
    body |= _stock() | {"manage_stock": "parent", "stock_status": "instock", "weight": ""}
    body |= {"dimensions": {"length": "", "width": "", "height": ""}, "shipping_class": "", "shipping_class_id": 0}
    return body | {"image": None, "attributes": [], "menu_order": 0, "meta_data": [], "name": "", "parent_id": 0} | more


def order(currency: str, *, includes_tax: bool, key: str, billing: Json, shipping: Json) -> Json:
    return {
        "parent_id": 0,
        "currency": currency,
        "prices_include_tax": includes_tax,
        "order_key": key,
        "billing": billing,
        "shipping": shipping,
        "payment_method": "",
        "payment_method_title": "",
        "transaction_id": "",
        "created_via": "rest-api",
        "customer_note": "",
        "date_completed": None,
        "date_paid": None,
        "number": "",
        "meta_data": [],
        "line_items": [],
        "tax_lines": [],
        "shipping_lines": [],
        "fee_lines": [],
        "coupon_lines": [],
    }


def line_item(item_id: int, name: str, product_id: int, quantity: int, **more: Any) -> Json:
    return {
        "id": item_id,
        "name": name,
        "product_id": product_id,
        "variation_id": 0,
        "quantity": quantity,
        "tax_class": "",
        "subtotal": 0,
        "subtotal_tax": 0,
        "total": 0,
        "total_tax": 0,
        "taxes": [],
        "meta_data": [],
        "sku": "",
        "global_unique_id": "",
        "price": 0,
        "image": {"id": "", "src": ""},
        "parent_name": None,
    } | more


def shipping_line(item_id: int, title: str, total: Any, **more: Any) -> Json:
    return {
        "id": item_id,
        "method_title": title,
        "method_id": "flat_rate",
        "instance_id": "",
        "total": total,
        "total_tax": 0,
        "taxes": [],
        "tax_status": "taxable",
        "meta_data": [],
    } | more


def fee_line(item_id: int, name: str, total: Any, **more: Any) -> Json:
    return {
        "id": item_id,
        "name": name,
        "tax_class": "",
        "tax_status": "taxable",
        "amount": "",
        "total": total,
        "total_tax": 0,
        "taxes": [],
        "meta_data": [],
    } | more


def coupon_line(item_id: int, meta_id: int, coupon_id: int, coupon: Json) -> Json:
    """The coupon as the order remembers it."""
    nominal = float(coupon["amount"] or 0)
    nominal = int(nominal) if nominal.is_integer() else nominal
    info = f'[{coupon_id},"{coupon["code"]}","{coupon["discount_type"]}",{nominal}]'
    note = {"id": meta_id, "key": "coupon_info", "value": info, "display_key": "coupon_info", "display_value": info}
    return {
        "id": item_id,
        "code": coupon["code"],
        "discount": "0",
        "discount_tax": "0",
        "meta_data": [note],
        "discount_type": coupon["discount_type"],
        "nominal_amount": nominal,
        "free_shipping": bool(coupon.get("free_shipping")),
    }


def coupon(code: str, **more: Any) -> Json:
    return {
        "code": code,
        "amount": "0.00",
        "discount_type": "fixed_cart",
        "description": "",
        "date_expires": None,
        "date_expires_gmt": None,
        "usage_count": 0,
        "individual_use": False,
        "product_ids": [],
        "excluded_product_ids": [],
        "usage_limit": None,
        "usage_limit_per_user": None,
        "limit_usage_to_x_items": None,
        "free_shipping": False,
        "product_categories": [],
        "excluded_product_categories": [],
        "exclude_sale_items": False,
        "minimum_amount": "0.00",
        "maximum_amount": "0.00",
        "email_restrictions": [],
        "used_by": [],
        "meta_data": [],
    } | more


def tax(**more: Any) -> Json:
    body: Json = {"country": "", "state": "", "postcode": "", "city": "", "rate": "0.0000", "name": "Tax"}
    body |= {"priority": 1, "compound": False, "shipping": True, "order": 0, "class": "standard"}
    return body | {"postcodes": [], "cities": []} | more
