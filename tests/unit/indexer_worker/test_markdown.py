"""Markdown as text that is searched."""

import pytest

from indexer_worker.conversion.markdown import plain_text


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("# 공고 #\n\n**인사혁신처** *국민참여정책단* 모집\n", "# 공고\n인사혁신처 국민참여정책단 모집"),
        ("**제안**하되 **참조**하여", "제안하되 참조하여"),
        ("- 하나\n- 둘\n  1. 둘의 하나\n", "하나\n둘\n1. 둘의 하나"),
        ("1\\. 번호, 2\\*3, a\\|b", "1. 번호, 2*3, a|b"),
        ("3. 셋째\n4. 넷째 항\n\n9) 아홉", "3. 셋째\n4. 넷째 항\n9) 아홉"),
        ("강 북 구 청<br>(문화관광체육과)", "강 북 구 청\n(문화관광체육과)"),
        ("![image](assets/a.png) 보도자료 [링크](http://example.org)", "보도자료 링크"),
        ("\uf06d 글머리", "• 글머리"),
        ("```\n코드 1\n코드 2\n```", "코드 1\n코드 2"),
        ("<div>상자</div>", "상자"),
        ("", ""),
        ("![image](a.png)", ""),
    ],
)
def test_marks_go_and_text_stays(markdown: str, text: str) -> None:
    assert plain_text(markdown) == text


def test_a_table_row_carries_its_header() -> None:
    table = "| 이름 | 국어 | |\n| :--- | :--- | --- |\n| 개똥이 | 89 | 참고 |\n| | **77** | |\n| | | |\n\n뒤"
    assert plain_text(table) == "이름 국어\n이름: 개똥이, 국어: 89, 참고\n국어: 77\n뒤"


def test_a_table_without_header_has_plain_rows() -> None:
    assert (
        plain_text("| | |\n|---|---|\n| 성명 | 홍길동 |\n| 소속 | 총무과<br>1팀 |\n")
        == "성명, 홍길동\n소속, 총무과 1팀"
    )
