"""Write `docs/situations.md`."""

from tests.situations import PAGE, page

PAGE.write_text(page(), encoding="utf-8", newline="\n")
print(f"written: {PAGE}")
