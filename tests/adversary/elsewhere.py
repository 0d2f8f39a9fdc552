"""Findings that need a broken machine, a database in some state, or minutes: where their tests are, so that none is missing."""

from pathlib import Path

_ROOT = Path(__file__).parents[2]
FINDINGS = (
    *(f"C{number}" for number in range(1, 5)),
    *(f"H{number}" for number in range(1, 7)),
    *(f"M{number}" for number in range(1, 11)),
    *(f"L{number}" for number in range(1, 11)),
)
_STATES = (
    "tests/ingest/test_states.py",
    "test_what_is_acknowledged_in_any_state_of_the_database_is_applied_when_all_is_well_again",
)
#: File, and the names of its tests.
ELSEWHERE: dict[str, tuple[tuple[str, str], ...]] = {
    "H1": (
        _STATES,
        ("tests/ingest/test_poison.py", "test_a_poisonous_row_is_set_aside_and_its_neighbours_are_applied_at_once"),
        ("tests/ingest/test_poison.py", "test_a_receipt_whose_message_somebody_holds_waits_and_holds_up_no_other"),
    ),
    "H2": (
        _STATES,
        ("tests/ingest/test_poison.py", "test_whatever_its_error_is_called"),
        ("tests/ingest/test_poison.py", "test_a_fault_of_our_own_that_strikes_all_sets_nothing_aside"),
    ),
    "L5": (
        ("tests/cli/test_starts.py", "test_a_url_that_is_none"),
        ("tests/cli/test_starts.py", "test_a_database_or_role_that_does_not_exist"),
        ("tests/cli/test_starts.py", "test_a_schema_newer_than_the_program"),
    ),
    "L10": (
        ("tests/test_image.py", "test_the_base_is_named_once_so_that_a_digest_pins_all_of_the_image"),
        ("tests/test_image.py", "test_every_package_comes_with_its_hashes"),
        ("tests/test_image.py", "test_nobody_in_it_is_root_and_its_data_is_its_own"),
    ),
    "M3": (
        ("tests/addresses/test_erasure.py", "test_no_column_of_any_table_holds_it"),
        ("tests/addresses/test_erasure.py", "test_no_dump_holds_it"),
        ("tests/addresses/test_erasure.py", "test_no_log_holds_it"),
    ),
    "M5": (
        ("tests/ingest/test_states.py", "test_readiness_ends_when_the_spool_is_full_and_begins_again_with_the_database"),
        ("tests/chaos/test_database_away.py", "test_full_spool_answers_503_with_retry_after"),
        ("tests/ingest/test_spool.py", "test_a_folder_that_cannot_be_written_is_a_full_spool"),
    ),
    "M6": (
        ("tests/ingest/test_spool.py", "test_a_spool_on_a_full_disk_is_emptied_and_the_next_outage_is_taken_too"),
        ("tests/ingest/test_spool.py", "test_a_file_that_was_brought_and_not_yet_unlinked_is_unlinked_by_who_finds_it"),
        ("tests/ingest/test_spool.py", "test_files_that_are_damaged_or_foreign_stop_no_other_and_are_left_as_they_are"),
    ),
    "M7": (
        ("tests/ingest/test_spool.py", "test_only_we_can_read_the_spool_also_when_it_was_there_with_wider_rights"),
        ("tests/cli/test_starts.py", "test_what_is_there_and_what_comes_is_private"),
        ("tests/cli/test_starts.py", "test_a_data_directory_that_others_pass_through_is_not_listed"),
    ),
    "M8": (  # and `Silent` beside the tables
        ("tests/server/test_crowds.py", "test_more_idle_connections_than_descriptors_shut_nobody_out"),
        ("tests/server/test_crowds.py", "test_who_is_silent_midway_is_sent_away_and_callbacks_are_answered_meanwhile"),
        ("tests/server/test_slowness.py", "test_a_trickle_is_no_progress"),
    ),
}  # fmt: skip


def missing(finding: str) -> list[str]:
    """The references of `finding` that lead nowhere."""
    return [
        f"{file}: {test}"
        for file, test in ELSEWHERE[finding]
        if not (_ROOT / file).exists() or f"def {test}(" not in (_ROOT / file).read_text("utf-8")
    ]
