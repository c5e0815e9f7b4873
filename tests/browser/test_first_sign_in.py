"""The first sign-in, with the password that `make run` prints, and the way out."""

import re

from tests.browser.chromium import expect
from tests.browser.people import PASSWORD


def test_the_operator_signs_in_with_the_password_of_the_banner_and_out_again(somebody, stack):
    olga = somebody()
    olga.goes_to("/admin/")
    expect(olga.page).to_have_url(re.compile(r"/admin/login/"))
    olga.signs_in("admin", stack.operator_password)
    expect(olga.page).to_have_title(re.compile("Home"))
    olga.page.locator("nav, aside").get_by_text("admin", exact=True).click()
    olga.presses("Log out")
    expect(olga.page).to_have_url(re.compile(r"/admin/login/"))
    olga.goes_to("/admin/tenants/tenant/")
    expect(olga.page).to_have_url(re.compile(r"/admin/login/\?next="))


def test_a_wrong_password_is_refused_in_words_and_what_was_typed_stays(somebody, stack):
    olga = somebody()
    olga.goes_to("/admin/login/")
    olga.signs_in("admin", "not this one")
    olga.sees("The name or the password is not right.")
    expect(olga.field("Username or e-mail address")).to_have_value("admin")


def test_charlie_gets_to_the_console_of_his_own_tenant_only(somebody, sessions):
    sessions("charlie")
    charlie = somebody()
    charlie.goes_to("/admin/")
    charlie.signs_in("charlie@example.com", PASSWORD)
    charlie.sees("Charlie Inc")
    charlie.does_not_see("Alice")
