// What allauth's scripts for passkeys could not do is told on the page, and not only to the console.
document.addEventListener("allauth.error", (event) => {
    const place = document.getElementById("passkey-error");
    if (!place) {
        return;
    }
    event.preventDefault();
    const name = event.detail.exception && event.detail.exception.name;
    place.textContent =
        name === "NotAllowedError" ? "No passkey was used. Try again, or choose another way." : "This did not work here. Choose another way.";
    place.hidden = false;
});
