"""The console's pieces, for templates."""

from django import template

from config import console

register = template.Library()
register.simple_tag(console.badge)
register.simple_tag(console.moment)
register.simple_tag(console.number)
register.simple_tag(console.code)
register.simple_tag(console.name)
