// Conveniences of the console: copy an id, "/" to search, fields that depend on others, pages that look again.
document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button || !navigator.clipboard) return;
    await navigator.clipboard.writeText(button.dataset.copy);
    const icon = button.firstElementChild;
    icon.textContent = "check";
    setTimeout(() => { icon.textContent = "content_copy"; }, 1500);
});

document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const search = document.getElementById("searchbar");
    if (!search) return;
    event.preventDefault();
    search.focus();
});

document.addEventListener("DOMContentLoaded", () => {
    // Fields that apply only where another has a certain value; the server says the same without this.
    for (const dependent of document.querySelectorAll("[data-only-if]")) {
        const other = document.getElementsByName(`config.${dependent.dataset.onlyIf}`)[0];
        if (!other) continue;
        const show = () => {
            dependent.closest(".cw-field").hidden = !dependent.dataset.onlyValues.split(" ").includes(other.value);
        };
        other.addEventListener("change", show);
        show();
    }
    // A page that shows work under way looks again, unless somebody is typing in it.
    if (!document.querySelector("[data-look-again]")) return;
    const look = () => {
        if (document.activeElement?.matches("input, textarea")) setTimeout(look, 2000);
        else location.reload();
    };
    setTimeout(look, 2000);
});
