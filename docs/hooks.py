"""What mkdocs does beyond the pages that lie in docs/: options, reference, pictures.

Pages are also read on GitHub, from where they lie, so they name pictures by
`../benchmarks/results/...`; in the site these lie under `benchmarks/results/`.
"""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from make_options import page

ROOT = Path(__file__).parent.parent
PICTURES = "benchmarks/results"
PACKAGES = {
    "types, phases, sampling, cpu": ("types", "phases", "sampling", "cpu"),
    **{
        name: (name,)
        for name in ("networks", "components", "models", "metrics", "data", "runs", "ask")
    },
    "estimators": ("estimators",),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what is made from the code, and the pictures that pages show."""
    files.append(File.generated(config, "options.md", content=page()))
    for title, names in PACKAGES.items():
        name = f"reference/{names[0]}.md"
        text = f"# {title}\n\n" + "".join(map(reference, names))
        files.append(File.generated(config, name, content=text))
    shown = set()
    for source in Path(config.docs_dir).glob("*.md"):
        shown |= set(re.findall(rf"\]\(\.\./({PICTURES}/[^)]+)\)", source.read_text()))
    for name in sorted(shown):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def reference(name: str) -> str:
    """The reference of a module, or of all modules of a package."""
    folder = ROOT / "aaejax" / name
    if not folder.is_dir():
        return f"::: aaejax.{name}\n\n"
    options = "    options:\n      members: false\n"
    text = ""
    # Those of models that begin with _ too: a new model is made of them.
    for path in sorted(folder.rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        package = module.removesuffix(".__init__")
        text += f"::: {package}\n{options if package != module else ''}\n"
    return text


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Pictures by their place in the site."""
    return markdown.replace(f"](../{PICTURES}/", f"]({PICTURES}/")
