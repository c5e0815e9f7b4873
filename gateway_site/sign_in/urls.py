"""Addresses of signing in, by the names that allauth knows them by. Nobody signs up or changes their address here."""

from allauth.account import views as account
from allauth.mfa.base import views as mfa
from allauth.mfa.recovery_codes import views as recovery
from allauth.mfa.signals import authenticator_added
from allauth.mfa.totp import views as totp
from allauth.mfa.webauthn import views as webauthn
from django.urls import path, re_path
from django.views.generic.base import RedirectView

from gateway_site.sign_in import pages
from gateway_site.sign_in.adapters import SSO, note_enrolment

authenticator_added.connect(note_enrolment)

urlpatterns = [
    path("admin/login/", pages.Login.as_view(), name="account_login"),
    path("admin/login/inactive/", account.account_inactive, name="account_inactive"),
    path("admin/login/second-factor/", mfa.authenticate, name="mfa_authenticate"),
    path("admin/login/passkey/", webauthn.login_webauthn, name="mfa_login_webauthn"),
    path("admin/login/sso/", pages.sso_start, {"provider_id": SSO}, name="openid_connect_login"),
    path("admin/login/sso/callback/", pages.sso_finish, {"provider_id": SSO}, name="openid_connect_callback"),
    path("admin/login/sso/cancelled/", pages.sso_cancelled, name="socialaccount_login_cancelled"),
    path("admin/login/forgotten/", account.password_reset, name="account_reset_password"),
    path("admin/login/forgotten/sent/", account.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^admin/login/forgotten/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        account.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "admin/login/forgotten/done/",
        account.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
    path("admin/logout/", pages.leave, name="account_logout"),
    path("admin/password_change/", RedirectView.as_view(pattern_name="account_change_password")),
    path("admin/security/", mfa.index, name="mfa_index"),
    path("admin/security/required/", pages.required, name="sign_in_required"),
    path("admin/security/confirm/", account.reauthenticate, name="account_reauthenticate"),
    path("admin/security/confirm/code/", mfa.reauthenticate, name="mfa_reauthenticate"),
    path("admin/security/confirm/passkey/", webauthn.reauthenticate_webauthn, name="mfa_reauthenticate_webauthn"),
    path("admin/security/password/", account.password_change, name="account_change_password"),
    path("admin/security/password/set/", account.password_set, name="account_set_password"),
    path("admin/security/sessions/", pages.Sessions.as_view(), name="usersessions_list"),
    path("admin/security/app/", totp.activate_totp, name="mfa_activate_totp"),
    path("admin/security/app/remove/", totp.deactivate_totp, name="mfa_deactivate_totp"),
    path("admin/security/recovery-codes/", recovery.view_recovery_codes, name="mfa_view_recovery_codes"),
    path("admin/security/recovery-codes/new/", recovery.generate_recovery_codes, name="mfa_generate_recovery_codes"),
    path(
        "admin/security/recovery-codes/download/",
        recovery.download_recovery_codes,
        name="mfa_download_recovery_codes",
    ),
    path("admin/security/passkeys/", webauthn.list_webauthn, name="mfa_list_webauthn"),
    path("admin/security/passkeys/add/", webauthn.add_webauthn, name="mfa_add_webauthn"),
    path("admin/security/passkeys/<int:pk>/", webauthn.edit_webauthn, name="mfa_edit_webauthn"),
    path("admin/security/passkeys/<int:pk>/remove/", webauthn.remove_webauthn, name="mfa_remove_webauthn"),
    path("invitation/", pages.invitation_page, name="invitation"),
    path("invitation/<str:token>/", pages.open_invitation, name="open_invitation"),
]
