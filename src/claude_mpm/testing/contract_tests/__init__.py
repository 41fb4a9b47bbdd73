"""The contracts that every place keeps, one function each.

The first line of a function's documentation is what a user loses where the contract is broken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from claude_mpm.testing.contract_tests import conversation, death, output, place, stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from claude_mpm.testing.subject import Subject

# These have to read what a program prints, or what Claude asks, which a screen shows to a person.
NEED_OUTPUT: tuple[Callable[[Subject], None], ...] = (
    output.everything_arrives_before_the_end,
    output.a_character_cut_in_two_arrives_whole,
    output.a_line_of_64_mb_passes,
    output.input_of_6_mb_passes,
    output.a_reader_that_does_not_read_holds_nothing_up,
    output.standard_error_arrives,
    death.a_cut_in_the_middle_of_the_output_loses_nothing,
    conversation.a_question_is_asked_and_answered,
)
FOR_EVERY_PLACE: tuple[Callable[[Subject], None], ...] = (
    output.the_exit_status_arrives,
    place.the_folder_to_work_in_arrives,
    place.the_environment_arrives,
    place.what_claude_makes_has_the_rights_of_its_place,
    place.secrets_stay_hidden,
    place.the_framework_arrives,
    place.a_missing_command_is_named,
    place.a_missing_folder_is_named,
    place.the_statement_of_the_place_is_true,
    place.a_wrong_place_is_refused,
    conversation.claude_answers,
    conversation.ten_turns_stay_apart,
    conversation.an_interrupt_ends_the_turn_alone,
    conversation.a_stopped_conversation_goes_on,
    stop.stop_before_start_does_nothing,
    stop.stop_twice_is_as_once,
    stop.stop_from_a_hook_ends_the_session,
    stop.stop_in_the_middle_of_a_turn_ends_the_turn,
    stop.children_that_wandered_off_are_swept,
    stop.two_sessions_do_not_see_each_other,
    stop.nothing_is_left_behind,
    death.a_killed_controller_is_replaced_by_the_next,
    death.claude_does_not_outlive_its_last_follower,
    death.the_death_of_claude_is_told,
    death.what_stands_between_may_be_killed,
)
