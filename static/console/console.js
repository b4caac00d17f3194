// Two conveniences of the console: copy an id, and "/" to search.
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
