"""`elman train FILE` as it is, on texts that no setting was chosen on: beside uniform, unigram, the best n-gram and xz.

    python benchmarks/other_texts.py

Texts are made of what ships with Python, and of a grammar written here: the same on every machine with the same Python.
"""

import ast
import random
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from side_by_side import write

from elman.data.sources import python_docs
from elman.training import run
from elman.training.config import Config
from elman.training.report import conclude


def words(line: str) -> list[str]:
    """What stands between blanks."""
    return line.split()


NOUNS = words("老人 孩子 先生 旅人 商人 船夫 姑娘 医生 画家 猎人 书生 邻居 国王 士兵 朋友 厨师")
PLACES = words("山上 河边 城里 村口 海边 桥下 庙前 树林 花园 市场 院子 学校")
VERBS = words("看见 听说 找到 忘记 想起 带来 卖掉 借走 修好 埋下 拾起 打开")
THINGS = words("一封信 一把刀 一匹马 一本书 一盏灯 一条鱼 一块石头 一壶酒 一幅画 一个箱子 一件衣服 一串钥匙")
TIMES = words("清晨 傍晚 半夜 昨天 春天 下雨的时候 第二天 很久以前 不久")
ENDS = words("他笑了起来 谁也不说话 大家都很高兴 她没有回答 天慢慢黑了 风停了 于是他们一起回家")


def chinese(characters: int = 40_000) -> str:
    """Little stories whose people and places return."""
    rng, text = random.Random(0), ""
    while len(text) < characters:
        who, other, where = rng.choice(NOUNS), rng.choice(NOUNS), rng.choice(PLACES)
        for _ in range(rng.randint(3, 8)):
            kind = rng.randrange(4)
            if kind == 0:
                text += f"{rng.choice(TIMES)}，{who}在{where}{rng.choice(VERBS)}{rng.choice(THINGS)}。"
            elif kind == 1:
                text += f"{other}问{who}：“你为什么来{rng.choice(PLACES)}？”{rng.choice(ENDS)}。"
            elif kind == 2:
                text += f"{who}把{rng.choice(THINGS)}给了{other}，{rng.choice(ENDS)}。"
            else:
                text += f"{rng.choice(NOUNS)}走到{where}，{rng.choice(VERBS)}{rng.choice(THINGS)}，{rng.choice(ENDS)}。"
        text += "\n"
    return text


def sources(most: int) -> str:
    """Modules of the standard library, in the order of their names."""
    folder = Path(sysconfig.get_path("stdlib"))
    parts, length = [], 0
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" in path.parts or "test" in path.parts:
            continue
        text = path.read_text(encoding="utf-8", errors="ignore")
        parts.append(text)
        length += len(text)
        if length >= most:
            break
    return "".join(parts)[:most]


def names(most: int = 6000) -> str:
    """What the standard library calls its functions and classes, one a line, in random order."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    found = {
        node.name for node in ast.walk(ast.parse(sources(3_000_000).rsplit("\n\n\n", 1)[0])) if isinstance(node, kinds)
    }
    chosen = sorted(found)
    random.Random(0).shuffle(chosen)
    return "\n".join(chosen[:most]) + "\n"


def texts() -> Iterator[tuple[str, str]]:
    """By name."""
    docs = "".join(python_docs.text())
    yield "chinese, 40,000 characters", chinese()
    yield "source code, 500 kB", sources(500_000)
    yield "6,000 names", names()
    yield "language reference, 20 kB", docs[:20_000]
    yield "source code, 5 MB", sources(5_000_000)


def main() -> None:
    """Train on each as a user would, and keep the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts():
            path = Path(folder) / "text.txt"
            path.write_text(text, encoding="utf-8")
            started, wall = time.process_time(), time.perf_counter()
            job = run.begin(Path(folder) / name.replace(" ", "-"), Config.resolve(("", {"sources": [str(path)]})))
            for _ in run.execute(job):
                pass
            report = conclude(job)
            score = report["figures"]["held-out"][0]
            row = {
                "text": name,
                "symbols": report["vocabulary"],
                "training_tokens": len(job.corpus.train.ids),
                "chosen": job.notes[0].split(": ", 1)[1],
                "epochs": report["epochs"],
                "perplexity": score["baselines"]
                | {"xz": report["xz"]["held-out"], report["cell"]: score["perplexity"]},
                "bits_per_character": score["bits_per_character"],
                "cpu_seconds": time.process_time() - started,
                "seconds": time.perf_counter() - wall,
            }
            print(row, flush=True)
            rows.append(row)
    write("other_texts", rows)


if __name__ == "__main__":
    main()
