// The stages that need no server, one function each; docs/bisect.md says what they do.
#pragma once

#include "parity/bisect/bisect.h"
#include "parity/bisect/judge_text.h"

namespace lockstep::parity {

/// Ids of the reference's prompts from their text, special tokens, the chat template.
StageResult tokenizer_stage(const Subject& subject, const Recording& reference);

/// `the_case.at_once` against the reference.
StageResult teacher_forced_stage(DtypeCase& the_case, const Recording& reference, Floors& floors);
StageResult incremental_stage(DtypeCase& the_case);
/// Adds to an incremental stage what the reference says of the same steps: its tokens, and logits
/// where it recorded them.
void judge_steps(StageResult& result, DtypeCase& the_case, const Recording& reference,
                 Floors& floors);
StageResult batched_stage(DtypeCase& the_case, const Subject& subject);
StageResult chunked_stage(DtypeCase& the_case, const Subject& subject);
StageResult prefix_cached_stage(DtypeCase& the_case, const Subject& subject);
StageResult preempted_stage(DtypeCase& the_case, const Subject& subject);

/// Asks the server at `target` for the texts: by ids, with echo, by text, by chat, with stop
/// strings. Its own server's logits are the subject's, in the case's dtype; of a foreign one the
/// tokens are judged.
enum class Server : bool { kForeign, kOwn };
StageResult served_stage(const DtypeCase& the_case, const std::filesystem::path& folder,
                         const client::Target& target, Server whose);

/// The parts of the stages that need no engine.
void batched_feeds(StageResult& result, DtypeCase& the_case);
void chunked_feeds(StageResult& result, DtypeCase& the_case);
/// Images of a text fed at once to the case's pipeline.
AtOnce at_once_of(DtypeCase& the_case, std::span<const int32_t> ids);

/// What a pipeline must hold for every feed of `texts`.
PipelineOptions pipeline_for(const std::vector<ReferenceText>& texts);

/// Texts to stand beside `texts[text]` in a batch: other prompts, and made-up ones.
std::vector<std::vector<int32_t>> strangers(const std::vector<ReferenceText>& texts, size_t text,
                                            int64_t vocab_size);

}  // namespace lockstep::parity
